"""The program's verbs: what each takes from the command line, does, and says before, while and after it."""
