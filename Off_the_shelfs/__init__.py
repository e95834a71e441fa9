"""timm backbones and the one-view baseline."""
