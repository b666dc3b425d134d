import CheckpointIO

/// What is done to a picture before a vision tower sees it: transformers' image processors of CLIP and LLaVA in their Pillow
/// variant, with every number as theirs.
///
/// In this order, each where it is asked for: padding to a square, resizing, cutting out the centre, rescaling,
/// normalising.
package struct ImagePreprocessor: Sendable, Equatable {
    /// Sizes that a picture is resized to.
    package enum Resizing: Sendable, Equatable {
        /// The shorter side gets this length, and the other follows.
        case shortestEdge(Int)
        /// These sides, whatever the picture's were.
        case exact(height: Int, width: Int)
    }

    /// Red, green and blue of what is put above and below, or left and right, of a picture until it is a square; nil for
    /// none.
    package var paddingColor: [UInt8]?
    /// The new size; nil for the picture's own.
    package var resizing: Resizing?
    /// How pixels are made up in resizing.
    package var filter = ResamplingFilter.bicubic
    /// The size of the centre that is cut out; nil for all.
    package var crop: (height: Int, width: Int)?
    /// What pixels of 0 to 255 are multiplied by; nil for nothing.
    package var rescaleFactor: Double?
    /// Means of red, green and blue that are subtracted, and deviations that are divided by; nil for neither.
    package var normalization: (means: [Float], deviations: [Float])?

    /// One that leaves pictures as they are.
    package init() {}

    package static func == (left: ImagePreprocessor, right: ImagePreprocessor) -> Bool {
        left.paddingColor == right.paddingColor && left.resizing == right.resizing && left.filter == right.filter
            && left.crop?.height == right.crop?.height && left.crop?.width == right.crop?.width
            && left.rescaleFactor == right.rescaleFactor
            && left.normalization?.means == right.normalization?.means
            && left.normalization?.deviations == right.normalization?.deviations
    }

    /// The size of what comes out, [height, width]; nil where it follows from the picture.
    package var outputSize: (height: Int, width: Int)? {
        if let crop { return crop }
        if case .exact(let height, let width)? = resizing { return (height, width) }
        return nil
    }

    /// Checks by its header that the picture at `path` can be decoded and prepared. Throws `ImageError`.
    package func check(_ path: String, pixelLimit: Int = ImageHeader.pixelLimit) throws(ImageError) {
        let header = try ImageHeader.read(path, pixelLimit: pixelLimit)
        let side = max(header.width, header.height)
        guard paddingColor == nil || side <= pixelLimit / side else {
            throw .tooLarge(file: path, width: side, height: side, limit: pixelLimit)
        }
    }

    /// `values` of the picture at `path`, checked. Throws `ImageError`.
    package func load(_ path: String, pixelLimit: Int = ImageHeader.pixelLimit) throws(ImageError) -> [Float] {
        try check(path, pixelLimit: pixelLimit)
        return values(of: try RGBImage.load(path, pixelLimit: pixelLimit))
    }

    /// The picture in the size in which a tower sees it, before its values are rescaled.
    package func pixels(of image: RGBImage) -> RGBImage {
        let image = paddingColor.map { image.paddedToSquare($0) } ?? image
        let size = resizedSize(of: image)
        let rows = Window(size: size.height, crop: crop?.height)
        let columns = Window(size: size.width, crop: crop?.width)
        let part = image.resized(
            width: size.width, height: size.height, filter, columns: columns.kept, rows: rows.kept)
        return part.framed(columns: columns, rows: rows)
    }

    /// The values that a tower gets, [3, height, width]: all of red, then green, then blue.
    package func values(of image: RGBImage) -> [Float] {
        let pixels = pixels(of: image)
        let tables = (0..<3).map { table(of: $0) }
        let count = pixels.width * pixels.height
        return [Float](unsafeUninitializedCapacity: 3 * count) { target, filled in
            pixels.pixels.withUnsafeBufferPointer { source in
                for part in 0..<3 {
                    for pixel in 0..<count {
                        target[part * count + pixel] = tables[part][Int(source[3 * pixel + part])]
                    }
                }
            }
            filled = 3 * count
        }
    }

    /// What each of the 256 values of red, green or blue becomes: v * factor in double precision, rounded to single, then
    /// (v - mean) / deviation in single.
    private func table(of part: Int) -> [Float] {
        (0..<256).map { value in
            let scaled = rescaleFactor.map { Float(Double(value) * $0) } ?? Float(value)
            guard let normalization else { return scaled }
            return (scaled - normalization.means[part]) / normalization.deviations[part]
        }
    }

    private func resizedSize(of image: RGBImage) -> (height: Int, width: Int) {
        switch resizing {
        case nil: return (image.height, image.width)
        case .exact(let height, let width): return (height, width)
        case .shortestEdge(let length):
            if image.width <= image.height { return (length * image.height / image.width, length) }
            return (length, length * image.width / image.height)
        }
    }

    /// Which of a side's pixels are cut out, and how many of nothing stand around them where there are too few.
    struct Window {
        let kept: Range<Int>
        let before: Int
        let count: Int

        init(size: Int, crop: Int?) {
            let crop = crop ?? size
            count = crop
            if crop <= size {
                let start = (size - crop) / 2
                (kept, before) = (start..<start + crop, 0)
            } else {
                (kept, before) = (0..<size, (crop - size + 1) / 2)
            }
        }
    }
}

extension RGBImage {
    /// The picture in the middle of a square as long as its longer side, of `color` elsewhere.
    fileprivate func paddedToSquare(_ color: [UInt8]) -> RGBImage {
        guard width != height else { return self }
        let side = max(width, height)
        return placed(in: (side, side), left: (side - width) / 2, top: (side - height) / 2, color)
    }

    /// The picture with black around it, as windows that are larger say.
    fileprivate func framed(
        columns: ImagePreprocessor.Window, rows: ImagePreprocessor.Window
    ) -> RGBImage {
        if columns.count == width, rows.count == height { return self }
        return placed(in: (columns.count, rows.count), left: columns.before, top: rows.before, [0, 0, 0])
    }

    private func placed(in size: (width: Int, height: Int), left: Int, top: Int, _ color: [UInt8]) -> RGBImage {
        var all: [UInt8] = []
        all.reserveCapacity(3 * size.width * size.height)
        for row in 0..<size.height {
            guard (top..<top + height).contains(row) else {
                for _ in 0..<size.width { all += color }
                continue
            }
            for _ in 0..<left { all += color }
            all += pixels[3 * (row - top) * width..<3 * (row - top + 1) * width]
            for _ in left + width..<size.width { all += color }
        }
        return RGBImage(width: size.width, height: size.height, pixels: all)
    }
}
