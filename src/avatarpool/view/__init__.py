"""Seeing the animation: the face, and the page that speaks with it."""

from avatarpool.view.face import Pose, face_svg, pose_of
from avatarpool.view.page import create_page

__all__ = ["Pose", "create_page", "face_svg", "pose_of"]
