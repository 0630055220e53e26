"""What the detector serves with and the trainer learns with: windows, order and checks of frames.

Pure: numpy only; nothing here touches a network, a clock or the environment.
"""
