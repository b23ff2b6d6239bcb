"""The documentation as a site: `sphinx-build docs build/site`. The order of the pages is in index.md."""

project = "Sterna"
html_title = "Sterna"
extensions = ["myst_parser"]
myst_heading_anchors = 4  # anchors of headings, by the rule of GitHub, where the same pages are read too
highlight_language = "none"  # blocks that name no language show what a terminal or a file has
html_theme = "furo"  # light and dark, with the fonts of the reader's system: a page loads nothing from elsewhere
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
