"""Many runs: plan, executors, workers, tuning."""
