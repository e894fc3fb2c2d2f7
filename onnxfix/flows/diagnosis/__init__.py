"""What is wrong with a model, or with many: asked for, filtered, held to budgets and to what was accepted before."""
