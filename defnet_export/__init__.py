"""Exporting a checkpoint to one ONNX file. Needs the `export` extra: pip install 'defnet[export]'."""
