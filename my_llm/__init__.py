"""The floor of the house: everything that is the same for every model. Contains no nn.Module."""
