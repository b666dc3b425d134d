import CheckpointIO

/// What the beginning of a picture's file says of it: enough to refuse it before it is decoded.
package struct ImageHeader: Sendable, Equatable {
    /// The kind of file, by its first bytes and not by its name.
    package let format: ImageFormat
    /// Pixels of a row as they are stored, before a camera's position is heeded.
    package let width: Int
    /// Rows.
    package let height: Int

    /// The most pixels that are decoded unless a caller says otherwise: 192 MiB of them.
    package static let pixelLimit = 1 << 26

    /// Reads the header of the file at `path`, touching no more of it than it must.
    ///
    /// Throws `ImageError` for what is no picture that can be decoded: what can be told without decoding.
    package static func read(_ path: String, pixelLimit: Int = pixelLimit) throws(ImageError) -> ImageHeader {
        try withImageFile(path) { bytes throws(ImageError) in
            try ImageHeader(ImageBytes(bytes), file: path, pixelLimit: pixelLimit)
        }
    }

    /// The header in `bytes` of a file that messages call `file`.
    init(_ bytes: ImageBytes, file: String, pixelLimit: Int) throws(ImageError) {
        if bytes.count == 0 { throw .empty(file: file) }
        guard let format = ImageFormat(bytes) else {
            if let kind = OtherImageFormat.name(of: bytes) { throw .otherFormat(file: file, kind: kind) }
            throw .unknownFormat(file: file)
        }
        let size: (width: Int, height: Int)?
        switch format {
        case .jpeg: size = Self.jpegSize(bytes)
        case .png:
            size = Self.pngSize(bytes)
            if Self.isAnimatedPNG(bytes) { throw .animated(file: file, format: format) }
        case .webp:
            size = Self.webpSize(bytes)
            if Self.isAnimatedWebP(bytes) { throw .animated(file: file, format: format) }
        }
        guard let size else { throw .truncated(file: file, format: format) }
        guard size.width > 0, size.height > 0 else {
            throw .damaged(file: file, format: format, problem: "it has no pixels")
        }
        guard size.width <= pixelLimit / size.height else {
            throw .tooLarge(file: file, width: size.width, height: size.height, limit: pixelLimit)
        }
        self.format = format
        (width, height) = size
    }

    /// What a frame's header says (ITU-T T.81, B.2.2): precision, rows, columns.
    private static func jpegSize(_ bytes: ImageBytes) -> (width: Int, height: Int)? {
        var size: (width: Int, height: Int)?
        bytes.forEachPart(.jpeg) { part in
            // C4, C8 and CC are tables and an extension.
            guard (0xC0...0xCF).contains(part.name), ![0xC4, 0xC8, 0xCC].contains(part.name) else { return true }
            let content = bytes.part(part.range)
            if let height = content.integer(at: 1, size: 2, isBigEndian: true),
                let width = content.integer(at: 3, size: 2, isBigEndian: true)
            {
                size = (width, height)
            }
            return false
        }
        return size
    }

    private static func pngSize(_ bytes: ImageBytes) -> (width: Int, height: Int)? {
        let start = ImageFormat.pngSignature.count + 8
        guard let width = bytes.integer(at: start, size: 4, isBigEndian: true),
            let height = bytes.integer(at: start + 4, size: 4, isBigEndian: true)
        else { return nil }
        return (width, height)
    }

    /// Whether an animation's chunk stands before the picture's data.
    private static func isAnimatedPNG(_ bytes: ImageBytes) -> Bool {
        var isAnimated = false
        bytes.forEachPart(.png) { part in
            isAnimated = part.name == ImagePart.name("acTL")
            return !isAnimated && part.name != ImagePart.name("IDAT")
        }
        return isAnimated
    }

    /// What the first chunk says (RFC 9649, sections 2.5 to 2.7; RFC 6386, section 9.1).
    private static func webpSize(_ bytes: ImageBytes) -> (width: Int, height: Int)? {
        let content = 20
        func little(_ place: Int, _ size: Int) -> Int? {
            bytes.integer(at: content + place, size: size, isBigEndian: false)
        }
        if bytes.has("VP8 ", at: 12) {
            guard let width = little(6, 2), let height = little(8, 2) else { return nil }
            return (width & 0x3FFF, height & 0x3FFF)
        }
        if bytes.has("VP8L", at: 12) {
            guard let bits = little(1, 4) else { return nil }
            return (1 + bits & 0x3FFF, 1 + bits >> 14 & 0x3FFF)
        }
        guard bytes.has("VP8X", at: 12), let width = little(4, 3), let height = little(7, 3) else { return nil }
        return (1 + width, 1 + height)
    }

    private static func isAnimatedWebP(_ bytes: ImageBytes) -> Bool {
        bytes.has("VP8X", at: 12) && (bytes[20] ?? 0) & 2 != 0
    }
}

/// Lends the bytes of a picture's file to `body`, mapped, so that only what is touched is read. Throws what opening does
/// as `ImageError.file`, and what `body` throws.
func withImageFile<R>(
    _ path: String, _ body: (UnsafeRawBufferPointer) throws(ImageError) -> R
) throws(ImageError) -> R {
    let file: MappedFile
    do throws(CheckpointError) {
        file = try MappedFile.open(path)
    } catch {
        throw .file(error)
    }
    let result: Result<R, ImageError> = file.withBytes { bytes in
        do throws(ImageError) { return .success(try body(bytes)) } catch { return .failure(error) }
    }
    return try result.get()
}
