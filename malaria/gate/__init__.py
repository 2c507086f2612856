"""May these results be merged?"""
