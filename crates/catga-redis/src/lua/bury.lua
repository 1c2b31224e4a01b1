-- Keeps a letter. ARGV: its fields by name. Answers its number.
return bury(ARGV)
