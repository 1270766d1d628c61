"""The terms of the generator's and the discriminator's loss, one file each, as pure functions."""
