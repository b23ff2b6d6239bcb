"""`sterna finetune`: models trained further, converted to ternary, distilled, or given an adapter."""
