import CImages
import CheckpointIO

/// A picture in memory.
package struct RGBImage: Sendable, Equatable {
    /// Pixels of a row.
    package let width: Int
    /// Rows.
    package let height: Int
    /// Red, green and blue of each pixel, rows from the top without gaps: [height, width, 3].
    package let pixels: [UInt8]

    /// A picture of these bytes.
    package init(width: Int, height: Int, pixels: [UInt8]) {
        precondition(width > 0 && height > 0 && pixels.count == 3 * width * height, "three bytes a pixel")
        self.width = width
        self.height = height
        self.pixels = pixels
    }

    /// Reads the picture at `path` as transformers' `load_image` and Pillow do: upright as its Exif data say, alpha left
    /// out, everything else in RGB. What it is follows from its bytes, not from its name.
    ///
    /// Throws `ImageError`, before anything is decoded where the header tells.
    package static func load(
        _ path: String, pixelLimit: Int = ImageHeader.pixelLimit
    ) throws(ImageError) -> RGBImage {
        try withImageFile(path) { bytes throws(ImageError) in
            try RGBImage(decoding: bytes, file: path, pixelLimit: pixelLimit)
        }
    }

    /// The picture in the bytes of a file that messages call `file`; throws as `load`.
    package init(
        decoding bytes: UnsafeRawBufferPointer, file: String, pixelLimit: Int = ImageHeader.pixelLimit
    ) throws(ImageError) {
        let bytes = ImageBytes(bytes)
        let header = try ImageHeader(bytes, file: file, pixelLimit: pixelLimit)
        self = try Self.decode(bytes, header, file: file).turned(ImageOrientation(of: bytes, header.format))
    }

    private static func decode(
        _ bytes: ImageBytes, _ header: ImageHeader, file: String
    ) throws(ImageError) -> RGBImage {
        let decoder =
            switch header.format {
            case .jpeg: tspeft_jpeg_decode
            case .png: tspeft_png_decode
            case .webp: tspeft_webp_decode
            }
        var source = tspeft_image_source(
            bytes: bytes.bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), count: bytes.count,
            width: UInt32(header.width), height: UInt32(header.height))
        var pixels = [UInt8](repeating: 0, count: 3 * header.width * header.height)
        var words = [CChar](repeating: 0, count: Int(TSPEFT_IMAGE_WORDS))
        switch decoder(&source, &pixels, &words) {
        case TSPEFT_IMAGE_DECODED: return RGBImage(width: header.width, height: header.height, pixels: pixels)
        case TSPEFT_IMAGE_TRUNCATED: throw .truncated(file: file, format: header.format)
        case TSPEFT_IMAGE_NO_MEMORY: throw .noMemory(file: file, width: header.width, height: header.height)
        default:
            let problem = words.withUnsafeBytes { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            throw .damaged(file: file, format: header.format, problem: problem)
        }
    }
}
