import CheckpointIO
import Images

/// A picture of an example, which is read when it is needed.
package struct ExampleImage: Sendable, Equatable {
    private enum Source: Sendable, Equatable {
        case file(String, ImagePreprocessor)
        case values([Float])
    }

    private let source: Source

    /// The picture in a file, prepared by `preprocessor`.
    package init(path: String, _ preprocessor: ImagePreprocessor) { source = .file(path, preprocessor) }

    /// A picture as the values that a tower takes, [3, height, width].
    package init(values: [Float]) { source = .values(values) }

    /// The file; nil for values.
    package var path: String? { if case .file(let path, _) = source { path } else { nil } }

    /// The values that a tower takes, [3, height, width]. Throws `ImageError` for a file that has become another since its
    /// header was checked.
    package func values() throws(ImageError) -> [Float] {
        switch source {
        case .file(let path, let preprocessor): try preprocessor.load(path)
        case .values(let values): values
        }
    }
}

extension [ExampleImage] {
    /// The values of all, in order; throws as `values` does.
    package func values() throws(ImageError) -> [[Float]] {
        var all: [[Float]] = []
        for image in self { all.append(try image.values()) }
        return all
    }
}

/// How the pictures of records become tokens, for a model that takes pictures.
package struct ImageOptions: Sendable, Equatable {
    /// The token that stands for a part of a picture.
    package let token: Int32
    /// How many of these a picture has.
    package let tokenCount: Int
    /// What is done to a picture; or why that is not known.
    package let preprocessor: Result<ImagePreprocessor, ImageError>
    /// The folder that records' paths begin in; nil for that of the file of records.
    package let folder: String?

    /// How records and prompts say where a picture is.
    package static let mark = "<image>"

    /// Options; see the properties.
    package init(
        token: Int32, tokenCount: Int, preprocessor: Result<ImagePreprocessor, ImageError>, folder: String? = nil
    ) {
        self.token = token
        self.tokenCount = tokenCount
        self.preprocessor = preprocessor
        self.folder = folder
    }

    /// The picture at `path`, looked at by its header; one that is not absolute is sought in `folder`, or in the folder of
    /// `recordFile`. Throws `ImageError`.
    package func image(_ path: String, recordFile: String? = nil) throws(ImageError) -> ExampleImage {
        let preprocessor = try preprocessor.get()
        let folder = folder ?? recordFile.map { parentDirectory(of: $0) } ?? "."
        let place = path.hasPrefix("/") || folder == "." ? path : joinedPath(folder, path)
        try preprocessor.check(place)
        return ExampleImage(path: place, preprocessor)
    }

    /// Tokens with as many of a picture's in the place of each as a picture has, and `flags` likewise.
    package func expanded<Flag>(_ tokens: [Int32], _ flags: [Flag]) -> (tokens: [Int32], flags: [Flag]) {
        guard tokenCount != 1, tokens.contains(token) else { return (tokens, flags) }
        var (all, allFlags): ([Int32], [Flag]) = ([], [])
        for (index, one) in tokens.enumerated() {
            let count = one == token ? tokenCount : 1
            all += repeatElement(one, count: count)
            allFlags += repeatElement(flags[index], count: count)
        }
        return (all, allFlags)
    }
}
