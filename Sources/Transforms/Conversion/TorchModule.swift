import TensorCore

/// The Python module that puts an exported adapter into a transformers model, to run or to train it there.
enum TorchModule {
    /// Its name beside the adapter's files.
    static let fileName = "tspeft_torch.py"
    /// The settings that an export says for each module, against which it holds what it reads itself.
    static let settingsFile = "tspeft_torch.json"
    /// The only form of the settings so far.
    static let format = 1

    /// What stands in the file for the version of the program that wrote it.
    private static let versionMark = "@VERSION@"

    /// Its text: `PyTorch/tspeft_torch.py`, which the build puts into the program. Held against peft's own models, golden
    /// trajectories and ours by `Tests/Scripts/check_exports.py` and `check_torch_training.py`.
    static var text: String {
        let lines = String(decoding: PackageResources.tspeft_torch_py, as: UTF8.self).split(
            separator: versionMark, omittingEmptySubsequences: false)
        return lines.joined(separator: ToolVersion.current)
    }
}
