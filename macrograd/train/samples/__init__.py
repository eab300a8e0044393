"""What a training run is given: samples, targets and weights, checked, split, scaled and put in an order."""
