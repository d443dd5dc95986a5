"""The files of model versions: from a source to a verified folder here."""
