extension RGBImage {
    /// The part of the picture, resized to `newWidth` x `newHeight`, that begins at column `columns` and row `rows`: what
    /// Pillow's `resize(..).crop(..)` gives, to the bit, without the rest being computed. First each row, rounded to
    /// bytes, then each column, as Pillow does; a direction that keeps its size is left as it is.
    ///
    /// The ranges lie within the new size and are not empty.
    package func resized(
        width newWidth: Int, height newHeight: Int, _ filter: ResamplingFilter, columns: Range<Int>, rows: Range<Int>
    ) -> RGBImage {
        precondition(columns.lowerBound >= 0 && columns.upperBound <= newWidth && !columns.isEmpty)
        precondition(rows.lowerBound >= 0 && rows.upperBound <= newHeight && !rows.isEmpty)
        let vertical =
            newHeight == height ? nil : ResamplingTaps(filter, from: height, to: newHeight, range: rows)
        // Of the old rows only those that are read.
        var needed = rows
        if let vertical {
            let end = zip(vertical.firsts, vertical.counts).reduce(0) { max($0, $1.0 + $1.1) }
            needed = (vertical.firsts.min() ?? 0)..<end
        }
        let across = resizedAcross(to: newWidth, filter, columns: columns, rows: needed)
        guard let vertical else { return across }
        return across.resizedDown(vertical, firstRow: needed.lowerBound)
    }

    private func resizedAcross(
        to newWidth: Int, _ filter: ResamplingFilter, columns: Range<Int>, rows: Range<Int>
    ) -> RGBImage {
        if newWidth == width { return cropped(columns: columns, rows: rows) }
        let taps = ResamplingTaps(filter, from: width, to: newWidth, range: columns)
        let newCount = 3 * columns.count * rows.count
        let new = pixels.withUnsafeBufferPointer { source in
            [UInt8](unsafeUninitializedCapacity: newCount) { target, count in
                for (newRow, row) in rows.enumerated() {
                    for pixel in 0..<columns.count {
                        let start = 3 * (row * width + taps.firsts[pixel])
                        let sums = Self.sums(taps, pixel, source, start: start, step: 3)
                        let place = 3 * (newRow * columns.count + pixel)
                        (target[place], target[place + 1], target[place + 2]) = sums
                    }
                }
                count = newCount
            }
        }
        return RGBImage(width: columns.count, height: rows.count, pixels: new)
    }

    private func resizedDown(_ taps: ResamplingTaps, firstRow: Int) -> RGBImage {
        let newHeight = taps.firsts.count
        let newCount = 3 * width * newHeight
        let new = pixels.withUnsafeBufferPointer { source in
            [UInt8](unsafeUninitializedCapacity: newCount) { target, count in
                for row in 0..<newHeight {
                    let first = 3 * width * (taps.firsts[row] - firstRow)
                    for column in 0..<width {
                        let sums = Self.sums(taps, row, source, start: first + 3 * column, step: 3 * width)
                        let place = 3 * (row * width + column)
                        (target[place], target[place + 1], target[place + 2]) = sums
                    }
                }
                count = newCount
            }
        }
        return RGBImage(width: width, height: newHeight, pixels: new)
    }

    /// The weighted sums of one new pixel's three parts, rounded and clipped to bytes.
    @inline(__always)
    private static func sums(
        _ taps: ResamplingTaps, _ pixel: Int, _ source: UnsafeBufferPointer<UInt8>, start: Int, step: Int
    ) -> (UInt8, UInt8, UInt8) {
        let half: Int32 = 1 << (Int32(ResamplingTaps.fractionBits) - 1)
        var (red, green, blue) = (half, half, half)
        var place = start
        let first = taps.places[pixel]
        taps.weights.withUnsafeBufferPointer { weights in
            for tap in first..<first + taps.counts[pixel] {
                let weight = weights[tap]
                red &+= Int32(source[place]) &* weight
                green &+= Int32(source[place + 1]) &* weight
                blue &+= Int32(source[place + 2]) &* weight
                place += step
            }
        }
        return (clipped(red), clipped(green), clipped(blue))
    }

    private static func clipped(_ sum: Int32) -> UInt8 {
        UInt8(clamping: sum >> Int32(ResamplingTaps.fractionBits))
    }

    /// A part of the picture; the ranges lie within it and are not empty.
    package func cropped(columns: Range<Int>, rows: Range<Int>) -> RGBImage {
        if columns == 0..<width, rows == 0..<height { return self }
        var part: [UInt8] = []
        part.reserveCapacity(3 * columns.count * rows.count)
        for row in rows {
            part += pixels[3 * (row * width + columns.lowerBound)..<3 * (row * width + columns.upperBound)]
        }
        return RGBImage(width: columns.count, height: rows.count, pixels: part)
    }
}
