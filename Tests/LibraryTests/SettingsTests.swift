import TSPEFT
import Testing

@Suite struct SettingsTests {
    @Test func defaultsAreThoseOfTheProgram() {
        let request = TrainRequest(basePath: "b", adapterPath: "a", dataPath: "d", outputPath: "o")
        #expect(request.length == .epochs(3) && request.batchSize == 16 && request.accumulation == 1)
        #expect(request.learningRate == 1e-4 && request.schedule == .linear && request.warmupSteps == 0)
        #expect(request.weightDecay == 0 && request.gradientClipping == 1)
        #expect(request.s == 4e-5 && request.lambda == 4.5e-5)
        #expect(request.tauBeta1 == 0.9 && request.tauBeta2 == 0.98 && request.tauUpdate == .adam)
        #expect(!request.tauFollowsSchedule && !request.thresholdsOnly && request.seed == 0 && request.shuffles)
        #expect(request.evaluationInterval == nil && request.checkpointInterval == nil)
        #expect(request.promptMasking && request.endOfText && request.maxLength == nil)
        #expect(request.keptCheckpoints == 3 && !request.resumes && !request.replaces)
    }

    /// Each is set to a value of its own, so that none can stand for another.
    @Test func everySettingKeepsItsOwnValue() {
        var request = TrainRequest(basePath: "b", adapterPath: "a", dataPath: "d", outputPath: "o")
        (request.batchSize, request.accumulation, request.warmupSteps) = (2, 3, 4)
        (request.learningRate, request.weightDecay, request.gradientClipping) = (0.5, 0.6, 0.7)
        (request.s, request.lambda, request.tauBeta1, request.tauBeta2) = (0.1, 0.2, 0.3, 0.4)
        (request.evaluationInterval, request.checkpointInterval, request.maxLength) = (5, 6, 7)
        (request.seed, request.length, request.schedule, request.tauUpdate) = (8, .steps(9), .cosine, .plain)
        (request.tauFollowsSchedule, request.thresholdsOnly, request.shuffles) = (true, true, false)
        (request.promptMasking, request.endOfText) = (false, false)
        #expect((request.batchSize, request.accumulation, request.warmupSteps) == (2, 3, 4))
        #expect((request.learningRate, request.weightDecay, request.gradientClipping) == (0.5, 0.6, 0.7))
        #expect((request.s, request.lambda, request.tauBeta1, request.tauBeta2) == (0.1, 0.2, 0.3, 0.4))
        #expect(request.evaluationInterval == 5 && request.checkpointInterval == 6 && request.maxLength == 7)
        #expect(request.seed == 8 && request.length == .steps(9))
        #expect(request.schedule == .cosine && request.tauUpdate == .plain)
        #expect(request.tauFollowsSchedule && request.thresholdsOnly && !request.shuffles)
        #expect(!request.promptMasking && !request.endOfText)
        for schedule in TrainRequest.Schedule.allCases {
            request.schedule = schedule
            #expect(request.schedule == schedule)
        }
    }

    @Test func presetsSetWhatThePaperGives() throws {
        try withTinyRequests { tiny in
            _ = try inject(tiny.inject)
            var request = tiny.train("tuned")
            try request.apply(Preset(named: "vit"))
            #expect(request.learningRate == 2e-4 && request.schedule == .cosine && request.batchSize == 16)
            #expect(request.length == .epochs(1) && request.s == 4e-5 && request.lambda == 2e-6)
            #expect(Preset.csr.targets.count == 5 && Preset.all.count == 10)
            #expect(MethodOptions.keys.contains("target_r"))
        }
    }
}
