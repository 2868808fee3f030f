"""The program's verbs: their flags and help, what each one runs, and what it prints."""
