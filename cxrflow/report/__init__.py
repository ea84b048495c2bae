"""The pages that show a run, or several side by side: one file each, that needs nothing else.

`files` says what is read of a run, `facts` collects it, `curves` computes, `view` and `hardware` say what is shown,
`draw` and the templates draw it, `page` writes the result; `compare` is the same for several runs.
"""
