"""The pages that show a run, or several side by side: one file each, that needs nothing else.

`files` says what the report reads of a run's files, `facts` collects them, `curves` computes what is drawn from them,
`draw` and the templates draw it, `page` writes the result.
"""
