"""A headless Chromium for tests of pages, and what a page did that it should not have done."""

import os
import shutil
from contextlib import contextmanager

import pytest

CHROMIUM = "/usr/bin/chromium"
REQUIRED = "CAELAB_BROWSER_REQUIRED"  # set where the tests must run, as in continuous integration
SWITCHES = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip


def refuse_missing_browser():
    """Skip the tests where there is no browser; fail where it is required."""
    if shutil.which(CHROMIUM) is None:
        told = f"these tests need Chromium at {CHROMIUM}; on Debian: apt-get install chromium"
        (pytest.fail if os.environ.get(REQUIRED) else pytest.skip)(told)


@contextmanager
def chromium():
    """A browser with a profile of its own."""
    refuse_missing_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*SWITCHES])
        yield browser
        browser.close()


class Watched:
    """A page of a browser, with everything that it logged or asked for."""

    def __init__(self, browser, address, width=1280, **options):
        self.context = browser.new_context(viewport={"width": width, "height": 900}, accept_downloads=True, **options)
        self.page, self.address = self.context.new_page(), address.partition("#")[0]
        self.errors, self.requests, self.dialogs = [], [], []
        self.page.on("console", lambda message: self.errors.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("requestfailed", lambda request: self.errors.append(f"failed: {request.url[:200]}"))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        self.page.goto(address)

    def refuse_mischief(self):
        """Nothing was logged, opened or asked for but the file itself and what it holds."""
        outside = [url for url in self.requests if not url.startswith((self.address, "data:", "blob:"))]
        assert (self.errors, outside, self.dialogs) == ([], [], [])

    def open_run(self, name):
        self.page.evaluate("name => { location.hash = '#run-' + encodeURIComponent(name) }", name)
        self.page.locator("#run-page h2").wait_for()
        return self.page.locator("#run-page")

    def open_chart(self, table):
        """Open the explorer of a table and wait for its chart."""
        details = self.page.locator(f"details.explorer[data-table='{table}']")
        details.locator("summary").click()
        details.locator(".main-svg").first.wait_for()
        return details

    def download(self, button):
        with self.page.expect_download() as found:
            button.click()
        return found.value.path()

    def scrolls_sideways(self):
        return self.page.evaluate("document.documentElement.scrollWidth > innerWidth")
