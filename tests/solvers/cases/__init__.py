"""The algorithms under test, folder by folder, each with a problem it must solve."""
