# The same as `python3 start.py NAME`, for those who have make.
.PHONY: tour test check doctor tables notebooks docs bench bench-reliability format

tour:
	@python3 start.py tour
test:
	@python3 start.py test
check:
	@python3 start.py check
doctor:
	@python3 start.py doctor
tables:
	@python3 start.py tables
notebooks:
	@python3 start.py notebooks
docs:
	@python3 start.py docs
bench:
	@python3 start.py bench
bench-reliability:
	@python3 start.py bench-reliability
format:
	@python3 start.py format
