"""The benchmark: runs methods on protocols, keeps records, and makes tables and figures from records alone."""
