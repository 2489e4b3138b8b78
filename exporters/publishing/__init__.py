"""What lands in a model repository: artefacts with passports, configurations, folders put in place whole."""
