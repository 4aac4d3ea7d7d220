// A worker that reports where it is.
postMessage([location.href, location.pathname, location.search, String(location), new Request('/x').url]);
