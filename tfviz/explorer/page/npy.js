// Reads the NumPy array files that the server sends: float32, in C order.

export function parsed(buffer) {
  const length = new DataView(buffer).getUint16(8, true);
  const header = new TextDecoder("latin1").decode(new Uint8Array(buffer, 10, length));
  const shape = /'shape': \(([^)]*)\)/.exec(header)[1].split(",").map((one) => one.trim()).filter(Boolean).map(Number);
  return { shape, values: new Float32Array(buffer.slice(10 + length)) };
}

// Returns the cell at a position (0 to 1 on each axis), with one value per channel.
export function cellAt(array, x, y) {
  const [height, width, channels = 1] = array.shape;
  const row = Math.min(height - 1, Math.floor(y * height));
  const column = Math.min(width - 1, Math.floor(x * width));
  const start = (row * width + column) * channels;
  return { row, column, values: [...array.values.subarray(start, start + channels)] };
}

// Returns the value that is drawn in a style, as in tfviz.
export function drawnValue(values, style) {
  if (style === "signed") return values.reduce((sum, one) => sum + one, 0);
  if (style === "heatmap") return Math.max(...values.map(Math.abs));
  return values.reduce((sum, one) => sum + one, 0) / values.length;
}
