"""The report: one HTML file that opens anywhere, without a network connection."""

from reticule.report.page import check_available as check_available
from reticule.report.page import render as render
from reticule.report.page import write_report as write_report
