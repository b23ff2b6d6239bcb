"""The terminal of `sterna chat`: how messages are typed, and how answers are shown."""
