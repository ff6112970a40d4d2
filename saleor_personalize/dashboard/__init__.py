"""The pages inside Saleor's Dashboard: server-rendered, signed in by the Dashboard's own token."""
