"""Images of cases, and the logo: what a site may show of them, and how."""
