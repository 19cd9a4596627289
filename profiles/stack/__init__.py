"""Stack standards: what runs on the node to hand them out."""
