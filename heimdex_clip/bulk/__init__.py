"""Any number of images through an endpoint into Parquet parts, resumable: rows -> engine -> parts. Needs pyarrow."""
