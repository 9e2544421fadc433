"""What knows no physics: arguments and statuses, linear algebra, one optimisation loop."""
