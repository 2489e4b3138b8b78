"""What people look at: pages, indices, reports and their pictures."""
