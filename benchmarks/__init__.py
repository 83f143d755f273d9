"""What the study is measured against: recipes that were tried, and the loop that people use."""
