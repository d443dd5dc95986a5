"""What the tasks need of libraries: tokenizers, picture decoders, and the files of a model."""
