import CheckpointIO
import Data
import Images
import Models

extension ModelSession {
    /// How records' pictures become tokens of the model; nil for a model of text alone.
    func imageOptions(folder: String?) -> ImageOptions? {
        model.imageFacts.map { ImageOptions($0, modelPath: basePath, folder: folder) }
    }
}

extension ImageOptions {
    /// The options for a model that takes pictures as `facts` say. What its files say of how pictures are prepared is
    /// checked against them; what is wrong there is said where there is a picture.
    init(_ facts: ImageFacts, modelPath: String, folder: String?) {
        self.init(
            token: facts.token, tokenCount: facts.tokenCount,
            preprocessor: Result { () throws(ImageError) in try ImagePreprocessor.read(directory: modelPath, facts) },
            folder: folder)
    }
}

extension ImagePreprocessor {
    /// The preprocessor of a model, whose pictures have the size that its tower takes. Throws `ImageError`.
    fileprivate static func read(directory: String, _ facts: ImageFacts) throws(ImageError) -> ImagePreprocessor {
        let preprocessor = try read(directory: directory)
        let file = joinedPath(directory, processorFileName)
        guard let size = preprocessor.outputSize, size.height == facts.side, size.width == facts.side else {
            let found = preprocessor.outputSize.map { "\($0.height) x \($0.width)" } ?? "of no one size"
            throw .unsupportedSettings(
                file: joinedPath(directory, fileName), key: "crop_size", found: found,
                supported: "what the vision tower takes, \(facts.side) x \(facts.side)")
        }
        guard let processor = try processorSettings(directory: directory) else { return preprocessor }
        if let patch = processor["patch_size"], !patch.isNull, patch.integer(in: 1...Int(Int32.max)) != facts.patchSize
        {
            throw .unsupportedSettings(
                file: file, key: "patch_size", found: patch.text(), supported: "the tower's, \(facts.patchSize)")
        }
        let key = "vision_feature_select_strategy"
        let strategy = facts.dropsClass ? "default" : "full"
        if let found = processor[key], !found.isNull, found.stringValue != strategy {
            throw .unsupportedSettings(
                file: file, key: key, found: found.text(), supported: "that of config.json, '\(strategy)'")
        }
        return preprocessor
    }
}
