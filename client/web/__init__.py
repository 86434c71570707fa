"""The browser pages: a client of the gRPC server that answers HTTP, without any model code.

``access`` lets people in and attackers not; ``app`` joins pages and calls; ``messages`` turns JSON
into wire messages and back; ``plates``, ``clicks``, ``bench`` and ``jobs`` answer the calls of the
pages in ``static/pages``. Everything a page needs is served from here: it works offline.
"""
