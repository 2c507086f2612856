"""One page that shows how two or more trained models differ."""
