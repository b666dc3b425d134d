import CheckpointIO
import TensorCore

/// Why a picture cannot be used.
package enum ImageError: WordedError, Equatable {
    /// The file cannot be read.
    case file(CheckpointError)
    /// The file has no bytes.
    case empty(file: String)
    /// The file is of a kind that is not decoded; `kind` says which, such as `a GIF`.
    case otherFormat(file: String, kind: String)
    /// The file begins as no picture does that is known.
    case unknownFormat(file: String)
    /// The picture moves.
    case animated(file: String, format: ImageFormat)
    /// The file ends before the picture does.
    case truncated(file: String, format: ImageFormat)
    /// The file breaks the rules of its format.
    case damaged(file: String, format: ImageFormat, problem: String)
    /// The header says a size beyond what is decoded; `limit` in pixels.
    case tooLarge(file: String, width: Int, height: Int, limit: Int)
    /// A model has no settings of how pictures are prepared for it.
    case noSettings(directory: String)
    /// A value of these settings is unsound; without a key the whole file is.
    case badSettings(file: String, key: String?, problem: String)
    /// The settings are sound but ask for something that is not built.
    case unsupportedSettings(file: String, key: String, found: String, supported: String)
    /// There is no memory for the picture.
    case noMemory(file: String, width: Int, height: Int)

    package var wording: Wording {
        switch self {
        case .file(let cause): cause.wording
        case .empty(let file): "\(file): is empty, and no picture"
        case .otherFormat(let file, let kind):
            "\(file): is \(kind); pictures are JPEG, PNG or WebP, so make one of these of it"
        case .unknownFormat(let file):
            "\(file): begins as no picture does; JPEG, PNG and WebP are read, whatever the file is called"
        case .animated(let file, let format):
            "\(file): is an animated \(format.rawValue); save the frame that is meant as a picture of its own"
        case .truncated(let file, let format):
            "\(file): is a \(format.rawValue) picture that ends early; fetch or save it again"
        case .damaged(let file, let format, let problem):
            "\(file): is a damaged \(format.rawValue) picture: \(problem)"
        case .tooLarge(let file, let width, let height, let limit):
            "\(file): says that it has \(width) x \(height) pixels; at most \(limit) are decoded, so make it smaller"
        case .noSettings(let directory):
            "\(directory): has neither \(ImagePreprocessor.processorFileName) with 'image_processor' nor "
                + "\(ImagePreprocessor.fileName), which say how pictures are prepared for the model"
        case .badSettings(let file, let key, let problem):
            "\(file): " + (key.map { "'\($0)' " } ?? "") + problem
        case .unsupportedSettings(let file, let key, let found, let supported):
            "\(file): '\(key)' is \(found), which tspeft cannot do; it can do \(supported)"
        case .noMemory(let file, let width, let height):
            "\(file): there is no memory for a picture of \(width) x \(height) pixels"
        }
    }

    package var exitStatus: ExitStatus {
        switch self {
        case .file(let cause): cause.exitStatus
        case .otherFormat, .animated, .unsupportedSettings: .unsupported
        case .noSettings: .missingInput
        case .badSettings, .empty, .unknownFormat, .truncated, .damaged, .tooLarge, .noMemory: .badData
        }
    }
}
