import CheckpointIO

extension AdapterDirectory {
    /// Writes the adapter to a new directory, which appears complete or not at all.
    ///
    /// `inputs` are mapped files that the adapter was made from and that must not have changed meanwhile. `addingFiles`
    /// may put further files (a training state, a log) into the directory before it gets its name. Throws
    /// `CheckpointError`, and what `addingFiles` throws.
    package func write(
        to output: OutputTarget, rechecking inputs: [MappedFile] = [],
        addingFiles: (AtomicDirectory) throws -> Void = { _ in }
    ) throws {
        let directory = try AtomicDirectory(output)
        try write(into: directory)
        try addingFiles(directory)
        try directory.commit(rechecking: inputs)
    }

    /// Writes the adapter's files into a directory that is being made.
    package func write(into directory: AtomicDirectory) throws(CheckpointError) {
        try directory.write(PEFTNames.configurationFile, text: configuration.jsonText)
        try writeTensors(to: try directory.writer(PEFTNames.tensorFile))
        if let statistics {
            try AdapterRecord.writeStatistics(statistics, to: try directory.writer(PEFTNames.statisticsFile))
        }
        try directory.write(PEFTNames.recordFile, text: AdapterRecord.text(of: self))
        try directory.write(PEFTNames.modelCardFile, text: ModelCard.text(of: self))
    }

    /// The adapter as it would be read where it had been written: its configuration goes through its text.
    package func asRead() throws -> AdapterDirectory {
        var copy = self
        let file = PEFTNames.configurationFile
        copy.configuration = try AdapterConfiguration(
            json: try JSONValue.parse(Array(configuration.jsonText.utf8)), file: file)
        copy.configuration.expertCounts = configuration.expertCounts
        return copy
    }

    private func writeTensors(to file: AtomicFileWriter) throws(CheckpointError) {
        let all = fileTensors
        let entries = all.map { SafetensorsEntry(name: $0.name, dtype: .f32, shape: $0.shape) }
        let writer = try SafetensorsWriter(file, entries: entries)
        for tensor in all {
            let outcome = tensor.values.withUnsafeBytes { bytes in
                Result { () throws(CheckpointError) in try writer.append(bytes) }
            }
            try outcome.get()
        }
        try writer.finish()
    }
}
