"""What a brought network's outputs can mean: one file for each family of layouts."""
