"""What a run tells while it goes on: one stream of records, and those who receive it (a file, lines for people,
TensorBoard, plots)."""
