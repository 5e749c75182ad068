"""From raw records to rows: identities, their bytes, changes, and the columnar view. The one rule lives here."""
