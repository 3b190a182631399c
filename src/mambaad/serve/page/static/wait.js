// A comparison is running: the page is loaded again until it has ended.
"use strict";

setTimeout(() => location.reload(), 1500);
