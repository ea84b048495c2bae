"""What every stage and the board share. Needs numpy and Pillow only."""
