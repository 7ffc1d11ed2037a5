// Conveniences over pages that work without them: shortcuts, times that stay right, copying, live parts.
import "./copying.js";
import "./live.js";
import "./shortcuts.js";
import "./times.js";
