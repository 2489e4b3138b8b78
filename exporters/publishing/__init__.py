"""What lands in a model repository: artefacts with passports, put in place whole."""
