"""What a design is built for: boards, in `boards.toml`, and the families of their devices."""
